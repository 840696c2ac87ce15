"""One setting for all property tests: a slow machine is no failure, so examples have no deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile("edge-mpq", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge-mpq")
