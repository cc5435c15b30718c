"""The settings of airflow.cfg.template are settings that this Airflow has."""


def test_every_setting_is_one_that_airflow_knows(orchestrate, repository):
    unknown = orchestrate(f"""
import configparser, json
from airflow.configuration import conf
given = configparser.RawConfigParser()
given.read({str(repository / "airflow.cfg.template")!r})
known = conf.configuration_description
found = [(section, name) for section in given.sections() for name in given.options(section)]
assert len(found) > 20
print(json.dumps([each for each in found if each[1] not in known.get(each[0], {{"options": {{}}}})["options"]]))
""")
    assert unknown == []
