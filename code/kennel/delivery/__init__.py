"""The built images on their way to a registry: layers and sizes, software bill of materials, push."""
