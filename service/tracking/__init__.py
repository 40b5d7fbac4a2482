"""Tracking: what is in the store, shown in MLflow. The only door to MLflow."""

from service.tracking.follower import MlflowFollower, TrackingReport
from service.tracking.server import (
    TrackingPlace,
    local_artifacts,
    local_tracking_uri,
    make_database,
    preload,
)
from service.tracking.ui import UI_ENVIRONMENT, ui_command

__all__ = [
    "UI_ENVIRONMENT",
    "MlflowFollower",
    "TrackingPlace",
    "TrackingReport",
    "local_artifacts",
    "local_tracking_uri",
    "make_database",
    "preload",
    "ui_command",
]
