"""The data as training sees it: merged factors in the model's features."""

from dataclasses import dataclass, replace

from regression.compressed import Compressed
from regression.config import SyntheticData, TableData
from regression.encoding import Encoding
from regression.errors import InputError
from regression.rows import Source


@dataclass(frozen=True)
class Prepared:
    """The data as training sees it.

    Attributes:
        rows: the merged factors of all parts, in the model's features.
        encoding: from raw columns to those features.
        source: where the rows came from; None where they cannot be read again.
        counts: files_new, files_reused, files_left_out, rows_new, rows_reused, rows_dropped, and
            rows_left_out where it is known.
    """

    rows: Compressed
    encoding: Encoding
    source: Source | None
    counts: dict[str, int]

    @classmethod
    def of(
        cls,
        whole: Compressed,
        data: SyntheticData | TableData,
        source: Source,
        counts: dict[str, int],
    ) -> "Prepared":
        """Encode what the pass found.

        Raises:
            InputError: no feature is left, because each categorical column has one level.
        """
        encoding = Encoding.of(whole.columns[:-1], data)
        if not encoding.features:
            raise InputError(
                f"data.categorical must have a column with at least two levels. Got "
                f"{', '.join(f'{c}: {found}' for c, (found,) in encoding.levels.items())} instead, "
                "and no numeric feature beside it."
            )
        rows = whole.select((*encoding.features, whole.columns[-1]))
        return cls(rows, encoding, source, counts)

    def narrowed(self, data: SyntheticData | TableData) -> "Prepared":
        """The same rows with no other features than a configuration asks for.

        R factors can leave columns out exactly, so that the rows need not be read again.
        """
        if isinstance(data, SyntheticData) or data.features is None:
            return self
        numeric = tuple(name for name in data.features if name not in self.encoding.levels)
        encoding = replace(self.encoding, numeric=numeric)
        rows = self.rows.select((*encoding.features, self.rows.columns[-1]))
        return replace(self, rows=rows, encoding=encoding)
