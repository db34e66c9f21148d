"""A model card (Mitchell et al. 2019) from a report and a manifest."""

from __future__ import annotations

from robustness.evaluation.report import RobustnessReport
from robustness.report.content import verdict
from robustness.report.markdown import document
from robustness.report.tables import subject_table, threat_table
from robustness.report.wording import mapping_text
from torchkeep.artifact import Manifest
from torchkeep.render.page import Section

UNKNOWN = "Not recorded: whoever publishes the model has to say."


def model_card(report: RobustnessReport, manifest: Manifest) -> str:
    """Return the card in Markdown; what is not known says so."""
    subject = report.subject
    threats = ", ".join(result.threat for result in report.threats) or "none"
    data = f"Test images of {subject.dataset}, SHA-256 {subject.dataset_digest}."
    parts = [
        Section(title="Model details", table=subject_table(subject)),
        Section(title="Intended use", text=UNKNOWN),
        Section(title="Factors", text=f"Threat models that were attacked: {threats}. {UNKNOWN}"),
        Section(title="Metrics", text="Accuracies with 95 % Clopper-Pearson intervals."),
        Section(title="Evaluation data", text=f"{data} n = {report.circumstances.n}."),
        Section(title="Training data", text=mapping_text(manifest.train_record)),
        Section(
            title="Quantitative analyses", text=verdict(report).text, table=threat_table(report)
        ),
        Section(title="Ethical considerations", text=UNKNOWN),
        Section(title="Caveats", text=mapping_text(report.not_run) + "\n\n" + CAVEAT),
    ]
    return document(f"Model card: {manifest.name} {manifest.version}", parts)


CAVEAT = "Robust accuracies hold for the attacks that were run, not for those nobody has tried."
