"""Tables of invented curves: of a known order, crossing or not, with conditional keys."""

import math
import random
from typing import Any

from searching import space_with

from dexsearch.search.curves import CurveRow, CurveTable

EPOCHS = 9


def table_with(n_rows: int = 30, *, crossing: bool = False, **changes: object) -> CurveTable:
    """Rows over the space, in the order of their heights or, until the last epoch, its reverse.

    Without crossing, a curve is above another one in every epoch or in none.
    """
    space = space_with(**{"epochs": EPOCHS, **changes})
    generator = random.Random(0)
    rows = []
    for number in range(n_rows):
        params: dict[str, Any] = {
            "generator.depth": generator.randint(2, 4),
            "loss.adversarial": generator.choice(["lsgan", "none"]),
            "optimizer.learning_rate": 10 ** generator.uniform(-4, -2),
        }
        if params["loss.adversarial"] != "none":
            params["discriminator.patch_px"] = generator.choice([1, 16])
        height = 0.9 - abs(math.log10(params["optimizer.learning_rate"]) + 3) / 5
        early = 1 - height if crossing else height
        curve = [early * epoch / EPOCHS for epoch in range(1, EPOCHS)] + [height]
        rows.append(CurveRow(number, params, number, 0.5 + number % 3, {"val_ssim": tuple(curve)}))
    return CurveTable(
        space=space.model_dump(mode="json", by_alias=True),
        dataset_digest="digest",
        metric=1,
        epochs=EPOCHS,
        objectives=("val_ssim",),
        rows=tuple(rows),
        recorded_on="invented",
    )
