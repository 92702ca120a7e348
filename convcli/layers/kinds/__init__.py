"""The words for layers. A new kind is a class in one of these modules and its name here."""

#: Module → its words, in the order in which help lists them; a module is imported when a word of it is used.
WORDS = {
    "conv": ("conv", "convtranspose", "depthwise", "pointwise"),
    "sequences": ("separable", "spatial", "flattened"),
    "pool": ("maxpool", "avgpool", "globalpool"),
    "activations": ("identity", "relu", "sigmoid", "silu", "hardswish", "gelu"),
    "arrange": ("pad", "upsample", "pixelshuffle", "shuffle"),
    "channels": ("batchnorm", "combine", "concat", "add", "subtract", "multiply"),
}
NAMES = sum(WORDS.values(), ())
