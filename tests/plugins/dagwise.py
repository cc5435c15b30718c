"""An auth manager in whose eyes a user may read the runs of one DAG alone, the one that it is named after."""

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class DagwiseManager(SimpleAuthManager):
    def is_authorized_dag(self, *, user, details=None, **asked):
        own = details is None or details.id == user.get_name()
        return own and super().is_authorized_dag(user=user, details=details, **asked)
