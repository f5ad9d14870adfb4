"""Results of measurements of speed."""

CIRCUMSTANCES = {
    "processor": "cpu", "cores": 2, "gpu": None, "torch": "2", "commit": "0123456789abcdef",
    "uncommitted_changes": False, "time": "now", "scene": "room",
}  # fmt: skip
