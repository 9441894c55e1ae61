"""What sagemaker-inference calls: model_fn once, then input_fn, predict_fn and output_fn for each request.

The names and signatures are the toolkit's, so its stock handler finds and runs this file as it is. Kennel's own handler
(kennel.serving.handler) calls the same four functions where they are written, kennel.serving.functions: an archive may
bring an `inference` of its own (kennel.serving.script).
"""

from kennel.serving.functions import input_fn, model_fn, output_fn, predict_fn

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]
