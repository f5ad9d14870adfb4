"""Find the labels that a trained field contradicts.

The run is loaded and every labelled training image is rendered. Regions in which the field is confident of another
class than the label are ranked. A region counts for more where other views agree with the field.
`sns-audit-labels` does the same and writes pictures.

    python examples/03_audit_labels.py --load-config outputs/few-clicks/semantic-nerf/TIME/config.yml
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from semantic_ns.audit.regions import RegionRule
from semantic_ns.audit.run import Finding, TrainedRun, audit, render_run
from semantic_ns.runs import load_run


def audit_run(load_config: Path, rule: RegionRule, max_regions: int) -> tuple[TrainedRun, list[Finding]]:
    """The rendered run and its most contradicted regions, worst first."""
    run = render_run(load_run(load_config).pipeline)
    return run, audit(run, rule, max_regions)


def sentence_of(run: TrainedRun, finding: Finding) -> str:
    """What is wrong where, in words."""
    region, names = finding.region, run.dataset.taxonomy.names
    image = run.dataset.image_filenames[run.images[region.frame].index]
    rows, columns = region.box
    return (
        f"{finding.rank}. {image.name}, rows {rows.start} to {rows.stop - 1}, columns {columns.start} to "
        f"{columns.stop - 1}: labelled {names[region.given]}, rendered {names[region.suggested]} "
        f"(probability {region.confidence:.2f}, {int(region.mask.sum())} pixels)"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the most contradicted regions of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, required=True, help="the run's config.yml")
    parser.add_argument("--min-area", type=int, default=20, help="smallest area of a region in pixels")
    parser.add_argument("--max-regions", type=int, default=5, help="most regions to print")
    options = parser.parse_args(arguments)
    run, findings = audit_run(options.load_config, RegionRule(min_area=options.min_area), options.max_regions)
    print(f"{len(findings)} regions in {len(run.images)} images")
    for finding in findings:
        print(sentence_of(run, finding))


if __name__ == "__main__":
    main()
