"""Decision figure of the page on rare classes: ``python what_to_switch_on.py FILE.svg``."""

import sys

QUESTION, OPTION, HEADING = "#cfe2f6", "#d4efcf", "#e4e4ea"
# Boxes are opaque and lines are mid-grey, so that it reads on light and on dark pages.
INK, LINE = "#14181e", "#7d8590"
LINE_HEIGHT = 3.0

# Middle (x, y) and width, in percent, y downwards; kind; lines. "`" marks a line of code.
BOXES = {
    "moved": (50, 5, 42, QUESTION, ["Did the inputs move?", "other scanner, season, words"]),
    "around": (26, 16, 46, HEADING, ["no network: any scikit-learn classifier clf"]),
    "network": (76, 16, 46, HEADING, ["a network: numbers, or images with backbone="]),
    "shares": (26, 26, 38, QUESTION, ["Other class proportions?", "on the target than the source"]),
    "shift": (13.5, 42, 24, OPTION, ["`LabelShiftClassifier(clf)"]),
    "rare": (38.5, 42, 22, QUESTION, ["Rare classes?", "and they matter"]),
    "around rare": (20, 58, 36, OPTION, ["`ResampledClassifier(clf, SMOTE())",
                    "or `TunedThresholdsClassifier(clf)"]),
    "plain": (45, 58, 8, OPTION, ["`clf"]),
    "adapt": (76, 26, 46, OPTION, ["`DomainAdaptationClassifier()",
              "looks for other proportions by itself"]),
    "rare too": (76, 42, 42, QUESTION, ["Rare classes?", "in the source, and they matter"]),
    "network rare": (68, 58, 33, OPTION, ['`sampling="balanced"',
                     '`target_sampling="pseudo_balanced"', 'or `criterion="logit_adjusted"']),
    "default": (93, 58, 12, OPTION, ["nothing", "more"]),
    "predict": (50, 76, 98, QUESTION, ["What do you need at predict?",
                "LabelShiftClassifier and DomainAdaptationClassifier, without another fit"]),
    "target": (17, 92, 32, OPTION, ["most rows right on the target", '`prior="target"']),
    "uniform": (50, 92, 32, OPTION, ["equal care for all classes", '`prior="uniform"']),
    "known": (83, 92, 32, OPTION, ["shares that you know", "`prior=[0.87, 0.13]"]),
}  # fmt: skip
ARROWS = (
    ("moved", "around", "no"), ("moved", "network", "yes"),
    ("around", "shares", ""), ("shares", "shift", "yes"), ("shares", "rare", "no"),
    ("rare", "around rare", "yes"), ("rare", "plain", "no"),
    ("network", "adapt", ""), ("adapt", "rare too", ""),
    ("rare too", "network rare", "yes"), ("rare too", "default", "no"),
    ("predict", "target", ""), ("predict", "uniform", ""), ("predict", "known", ""),
)  # fmt: skip


def draw(path):
    """Write the figure; the suffix of `path` says in which format."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(100, 0))
    axes.set_axis_off()
    for start, end, answer in ARROWS:
        (x0, y0, *_, above), (x1, y1, *_, below) = BOXES[start], BOXES[end]
        x0 = x0 if answer else x1  # a straight line down, unless there are two answers
        y0, y1 = y0 + _height(above) / 2, y1 - _height(below) / 2
        arrow = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        if answer:
            pill = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": LINE}
            place = (x0 + x1) / 2, (y0 + y1) / 2
            axes.text(*place, answer, ha="center", va="center", fontsize=9, color=INK, bbox=pill)
    for x, y, width, colour, lines in BOXES.values():
        height = _height(lines)
        axes.add_patch(
            matplotlib.patches.FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height, facecolor=colour, edgecolor=LINE,
                boxstyle="round,pad=0,rounding_size=1",
            )
        )  # fmt: skip
        for k, line in enumerate(lines):
            family = "monospace" if "`" in line else "sans-serif"
            weight = "bold" if colour == QUESTION and k == 0 else "normal"
            axes.text(x, y + (k - (len(lines) - 1) / 2) * LINE_HEIGHT, line.replace("`", ""),
                      ha="center", va="center", fontsize=10, family=family, weight=weight,
                      color=INK)  # fmt: skip
    # The same bytes on each build: no date, no random identifiers.
    with matplotlib.rc_context({"svg.hashsalt": "adaptlearn"}):
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _height(lines):
    return LINE_HEIGHT * len(lines) + 2.4


if __name__ == "__main__":
    draw(sys.argv[1])
