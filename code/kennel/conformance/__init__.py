"""What SageMaker will demand of an image, checked with real containers before anyone pays. Works on any image."""
