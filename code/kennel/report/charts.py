"""The charts of a report, drawn from the report's own content."""

from collections.abc import Mapping
from typing import Any

from kennel.report.answer_charts import confusion_chart, reliability_charts
from kennel.report.drawing import Chart
from kennel.report.learning_charts import learning_charts
from kennel.report.time_charts import part_chart, system_charts, time_charts


def make_charts(content: Mapping[str, Any]) -> dict[str, Chart]:
    """Every chart that the content has something for, by name."""
    made = [
        *learning_charts(content["learning"]),
        *part_chart(content["job"]["parts"]),
        *time_charts(content["time"]),
        *system_charts(content["system"]),
        *confusion_chart(content["answers"]),
        *reliability_charts(content["calibration"]),
    ]
    return {chart.name: chart for chart in made}
