"""LexLoop's work: one step is one module with Params, Report and run; no Airflow in here."""
