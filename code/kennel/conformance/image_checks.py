"""What can be said of an image without running it: the words SageMaker calls, architecture, sizes, labels, secrets."""

from kennel.conformance.checks import Subject, check, failed, passed
from kennel.conformance.findings import Finding


@check("image.architecture", kind="image")
def architecture(subject: Subject) -> Finding:
    """SageMaker's instances are x86-64 under Linux (the Graviton ones only serve, and only images built for them)."""
    platform = f"{subject.attributes.get('Os')}/{subject.attributes.get('Architecture')}"
    if platform == "linux/amd64":
        return passed("platform in the image's configuration", platform)
    return failed(
        "platform in the image's configuration",
        platform,
        "the container ends at once with `exec format error` on ml.* instances with x86-64 processors",
        "build with --platform linux/amd64",
    )
