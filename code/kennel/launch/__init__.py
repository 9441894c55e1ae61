"""From one description of a job to the SageMaker Python SDK's objects, wherever they run."""
