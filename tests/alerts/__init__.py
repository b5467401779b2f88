"""Each alert of `cluster/deploy/prometheus/alerts.yml`, made to fire on a real cluster by the fault that it is for."""
