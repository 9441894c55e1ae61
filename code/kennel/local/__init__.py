"""The local SageMaker: a loopback service that answers SageMaker's API with processes of this machine."""
