"""The data as training sees it: merged factors in the model's features."""

from dataclasses import dataclass, replace

from plumbline.config.schema import SyntheticData, TableData
from plumbline.data.blocks import Source
from plumbline.data.encoding import Encoding
from plumbline.errors import InputError
from plumbline.linear.factor import Factor
from plumbline.linear.summary import Summary

LEAST_SIZE = 1e-150  # of what a column varies by: float64 holds squares from 1e-308 to 1e308


@dataclass(frozen=True, eq=False)  # its own key for what is computed once
class Dataset:
    """The data as training sees it.

    Attributes:
        summary: the merged factors of all parts, in the model's features.
        encoding: from raw columns to those features.
        source: where the rows came from; None where they cannot be read again.
        counts: files_new, files_reused, files_left_out, rows_new, rows_reused, rows_dropped, and
            rows_left_out where it is known.
    """

    summary: Summary
    encoding: Encoding
    source: Source | None
    counts: dict[str, int]

    @classmethod
    def of(
        cls,
        whole: Summary,
        data: SyntheticData | TableData,
        source: Source,
        counts: dict[str, int],
    ) -> "Dataset":
        """Encode what the pass found.

        Raises:
            InputError: no feature is left, because each categorical column has one level; or a
                column's squares are beyond float64.
        """
        encoding = Encoding.of(whole.columns[:-1], data.categorical)
        if not encoding.features:
            raise InputError(
                f"data.categorical must have a column with at least two levels. Got "
                f"{', '.join(f'{c}: {found}' for c, (found,) in encoding.levels.items())} instead, "
                "and no numeric feature beside it."
            )
        summary = whole.select((*encoding.features, whole.columns[-1]))
        for factor in summary.factors.values():
            _check_size(factor)
        return cls(summary, encoding, source, counts)

    def narrowed(self, data: SyntheticData | TableData) -> "Dataset":
        """The same rows with no other features than a configuration asks for.

        R factors can leave columns out exactly, so that the rows need not be read again.
        """
        if isinstance(data, SyntheticData) or data.features is None:
            return self
        numeric = tuple(name for name in data.features if name not in self.encoding.levels)
        encoding = replace(self.encoding, numeric=numeric)
        summary = self.summary.select((*encoding.features, self.summary.columns[-1]))
        return replace(self, summary=summary, encoding=encoding)


def _check_size(factor: Factor) -> None:
    """Refuse columns whose squares float64 cannot hold: their lengths would be 0 or infinite."""
    sizes = factor.r[:, 1:].abs().amax(dim=0)
    for name, size in zip(factor.columns, sizes.tolist(), strict=True):
        if size and not LEAST_SIZE <= size <= 1 / LEAST_SIZE:
            allowed = f"vary by {LEAST_SIZE:g} to {1 / LEAST_SIZE:g}, or not at all"
            raise InputError(
                f"column '{name}' must {allowed} (float64 cannot square what is smaller or "
                f"larger). Got {size:.3g}: write it in another unit."
            )
