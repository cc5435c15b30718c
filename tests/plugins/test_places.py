"""Where a step runs: the same argv in Airflow's own Bash, Docker and Kubernetes operators, and what a place may not be."""

import pytest

from tests.plugins.orchestrator import ask

MOUNT = {"/data/var": "/data/var"}
CARDS = {"kind": "docker", "image": "registry.example:5000/lexloop-{env}:2026.11", "gpus": 2, "cpus": "8", "memory": "64g"}
CARDS |= {"shared_memory": "8g", "network": "host", "volumes": MOUNT, "secrets": {"HF_TOKEN": "TEAM_HF_TOKEN"}}
CARDS |= {"environment": {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}}
POD = {"kind": "kubernetes", "image": "registry.example/lexloop-{env}@sha256:" + "a" * 64, "gpus": 1, "cpus": "4"}
POD |= {"memory": "64Gi", "shared_memory": "8Gi", "volumes": {"lexloop-var": "/data/var", "/mnt/models": "/models"}}
HERE = {"kind": "here"}
POD |= {"secrets": {"HF_TOKEN": "hub/token"}, "namespace": "legal", "node_selector": {"gpu": "h100"}}


BAD = [
    ({"kind": "moon"}, "there.kind must be one of here, docker, kubernetes, got 'moon'"),
    (CARDS | {"image": "lexloop-ml"}, "image must end in a tag"),
    (CARDS | {"image": "registry.example:5000/lexloop-ml"}, "image must end in a tag"),
    (CARDS | {"image": "lexloop-ml:latest"}, "other than latest"),
    (CARDS | {"gpus": -1}, "gpus must be a whole number"),
    (CARDS | {"volumes": {"/data/other": "/data/other"}}, "must mount /data/var"),
    (CARDS | {"volumes": {"claim": "/data/var"}}, "absolute folder of the host"),
    (POD | {"secrets": {"HF_TOKEN": "hub"}}, "secret/key"),
    (CARDS | {"environment": {"HF_TOKEN": "hf_x"}}, "environment.HF_TOKEN would stand in the DAG"),
    (POD | {"environment": {"MLFLOW_TRACKING_URI": "http://u:p@mlflow:5000"}}, "take the login out of the address"),
    ({"gpus": 1}, "kind `here` takes no gpus"),
]
FAILURES = [
    "Bash command failed. The command returned a non-zero exit code 2.",
    "Docker container failed: {'Error': None, 'StatusCode': 2}",
    "Pod x returned a failure.\nremote_pod: {'terminated': {'exit_code': 2, 'reason': 'Error'}}",
    "Docker container failed: {'Error': None, 'StatusCode': 24}",
]
PROFILE = """
where:
  places:
    cards: {{kind: docker, image: "lexloop-{{env}}:2026.11", gpus: 1, volumes: {{/data/var: /data/var}}}}
  steps: {{{step}: {place}}}
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Everything asked at once, because Airflow takes seconds to import."""
    home = tmp_path_factory.mktemp("home")
    profiles = {"good": ("training.lora", "cards"), "step": ("training.dream", "cards"), "place": ("training.lora", "moon")}
    for name, (step, place) in profiles.items():
        (home / f"{name}.yaml").write_text(PROFILE.format(step=step, place=place))
    named = [{"name": "training.lora", "place": place, "argv": True, "check": place is CARDS} for place in (HERE, CARDS, POD)]
    unset = {"name": "training.lora", "place": CARDS | {"secrets": {"HF_TOKEN": "UNSET_TOKEN"}}, "check": True}
    seat = [{"name": "training.lora"}, {"name": "data.split"}]
    judged = [{"name": name, "place": HERE, "check": True} for name in ("evaluation.compare", "evaluation.gate")]
    question = {
        "steps": [*named, unset, *seat, *({"name": "training.lora", "place": place} for place, _ in BAD), *judged],
        "failures": FAILURES,
        "profiles": [str(home / f"{name}.yaml") for name in profiles],
    }
    variables = {"LEXLOOP_VAR": "/data/var", "TEAM_HF_TOKEN": "canary-of-the-hub", "LEXLOOP_DB": "postgresql://u:canary@h/d"}
    variables["LEXLOOP_REWRITE_KEY"] = "canary-of-the-rewriter"
    variables |= {"MLFLOW_TRACKING_TOKEN": "canary-of-mlflow", "HF_TOKEN": "canary-of-nobody"}
    variables |= {"LEXLOOP_JUDGE_API_KEY": "canary-of-the-judge", "LEXLOOP_ENDPOINT_API_KEY": "canary-of-the-endpoint"}
    return ask(home, "places_probe.py", question, LEXLOOP_PROFILE=str(home / "good.yaml"), **variables)


@pytest.fixture(scope="module")
def built(answers):
    """The same step here, in Docker, in Kubernetes."""
    return answers[:3]


def test_every_place_gets_the_same_argv_word_for_word(built):
    words = ["legal_tasks.training.lora", "--profile", "small", "--set", "training.lora.seed=3", "--set"]
    words += ["training.lora.epochs=2", "--recompute", "--data", "/data/var/store/split x", "--as-of", "2026-11-01"]
    for operator in built:
        assert operator["argv"] == ["-m", *words]


def test_the_operators_are_airflows_own(built):
    modules = [(each["type"], each["module"].split(".operators")[0]) for each in built]
    assert modules == [
        ("BashOperator", "airflow.providers.standard"),
        ("DockerOperator", "airflow.providers.docker"),
        ("KubernetesPodOperator", "airflow.providers.cncf.kubernetes"),
    ]
    assert all(each["skip"] == [99] and each["links"] == ["MLflow run"] for each in built)


def test_a_docker_step_asks_for_cards_memory_and_mounts(built):
    docker = built[1]
    assert docker["image"] == "registry.example:5000/lexloop-ml:2026.11" and docker["entrypoint"] is None
    assert docker["gpus"] == [{"Driver": "", "Count": 2, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}]
    assert (docker["memory"], docker["shm"], docker["cpus"], docker["network"]) == ("64g", 8 * 2**30, 8.0, "host")
    assert [(m["Source"], m["Target"], m["Type"]) for m in docker["mounts"]] == [("/data/var", "/data/var", "bind")]
    assert docker["command"][:2] == ["/bin/sh", "-c"] and docker["command"][2].startswith("exec python -m legal_tasks")


def test_a_pod_asks_for_a_card_claims_and_a_node(built):
    pod = built[2]["pod"]
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert container["image"] == "registry.example/lexloop-ml@sha256:" + "a" * 64 and not container.get("command")
    wanted = {"nvidia.com/gpu": "1", "cpu": "4", "memory": "64Gi"}
    assert container["resources"] == {"limits": wanted, "requests": wanted}
    volumes = {v["name"]: v for v in spec["volumes"]}
    where = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
    assert where["/data/var"]["persistentVolumeClaim"]["claimName"] == "lexloop-var"
    assert where["/models"]["hostPath"]["path"] == "/mnt/models"
    assert where["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert pod["metadata"]["namespace"] == "legal" and spec["nodeSelector"] == {"gpu": "h100"}
    assert spec["restartPolicy"] == "Never" and spec["terminationGracePeriodSeconds"] == 60


def test_a_containers_environment_holds_places_but_nothing_of_this_machine(built):
    docker = built[1]["env"]
    pod = {v["name"]: v.get("value") for v in built[2]["pod"]["spec"]["containers"][0]["env"]}
    for values in (docker, pod):
        assert values["LEXLOOP_DAG_RUN"] == "scheduled__2026-11-01T03:00:00+08:00" and values["LEXLOOP_VAR"] == "/data/var"
        assert not values.keys() & {"PATH", "HOME", "PYTHONPATH", "LEXLOOP_ENV_DIR"}
    assert docker["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert docker["LEXLOOP_RESULT_COPY"] == built[1]["result"] and pod["LEXLOOP_RESULT_COPY"] == "/airflow/xcom/return.json"


def test_every_place_tells_a_step_whose_bounds_hold(built):
    """Without the installation's profile and the run's name a step would take its bounds from the wrong profile, or none."""
    pod = {v["name"]: v.get("value") for v in built[2]["pod"]["spec"]["containers"][0]["env"]}
    for values in (built[0]["env"], built[1]["env"], pod):
        assert values["LEXLOOP_PROFILE"].endswith("good.yaml") and values["LEXLOOP_DAG_RUN"]


def test_secrets_come_from_the_workers_environment_or_the_cluster_and_stand_in_no_template(built):
    docker, pod = built[1], built[2]["pod"]
    assert docker["secrets"] == {"HF_TOKEN": "canary-of-the-hub"} and docker["check"] == "passed, turn taken"
    assert "canary" not in str({key: value for key, value in docker.items() if key not in ("secrets", "handed")})
    token = next(v for v in pod["spec"]["containers"][0]["env"] if v["name"] == "HF_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"} and "value" not in token
    assert "canary" not in str(pod) and "canary" not in str(built[0] | {"handed": ""})


def test_a_step_here_gets_its_own_key_when_it_begins_and_shows_none_before(answers):
    compare, gate = answers[6 + len(BAD) : 8 + len(BAD)]
    assert "canary" not in str(compare["env"]) and "canary" not in str(gate | {"handed": ""})
    mlflow = {"MLFLOW_TRACKING_TOKEN": "canary-of-mlflow"}
    assert compare["handed"] == compare["env"] | mlflow | {"LEXLOOP_JUDGE_API_KEY": "canary-of-the-judge"}
    assert gate["handed"] == gate["env"] | mlflow


def test_a_container_gets_the_secrets_of_its_step_too_and_its_places_own_win(built):
    assert built[1]["handed"] == {"MLFLOW_TRACKING_TOKEN": "canary-of-mlflow", "HF_TOKEN": "canary-of-the-hub"}


def test_the_link_to_mlflow_stands_on_the_tasks_page_from_its_first_moment(built):
    query = "dag=d&run=scheduled__2026-11-01T03%3A00%3A00%2B08%3A00&step=training.lora"
    assert built[1]["pushed"]["_link_MlflowRunLink"].endswith(f"/mlflow-run/open?{query}")


def test_a_missing_secret_is_named_before_the_container_starts(answers):
    assert answers[3]["check"].startswith("AirflowFailException") and "UNSET_TOKEN is not set" in answers[3]["check"]


def test_the_profile_of_the_seat_names_the_place_of_a_step(answers):
    assert [each["type"] for each in answers[4:6]] == ["DockerOperator", "BashOperator"]
    assert answers[-3] == {"places": ["cards", "here"], "steps": {"training.lora": "cards"}}


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(BAD)])
def test_a_place_that_cannot_work_is_refused_with_its_key(answers, number, words):
    assert words in answers[6 + number]["error"]


def test_an_unknown_step_or_place_in_a_profile_is_named(answers):
    assert "names the step 'training.dream', which does not exist" in answers[-2]["error"]
    assert "where.steps.training.lora is 'moon'; places are here, cards" in answers[-1]["error"]


def test_a_step_that_somebody_must_mend_first_is_not_tried_again_wherever_it_ran(answers):
    assert [answer["decision"] for answer in answers[-7:-3]] == ["fail", "fail", "fail", "default"]
