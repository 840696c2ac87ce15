"""What the value of an option on the command line may be."""

import argparse


def above_zero(kind):
    """The reader of an option that takes an int or a float above 0."""

    def parse(text):
        value = kind(text)
        if not 0 < value < 1e9:
            raise argparse.ArgumentTypeError("{} is not above 0".format(text))
        return value

    parse.__name__ = kind.__name__
    return parse


def between(kind, least, most):
    """The reader of an option that takes an int or a float from ``least`` to ``most``."""

    def parse(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError("{} is not {} to {}".format(text, least, most))
        return value

    parse.__name__ = kind.__name__
    return parse
