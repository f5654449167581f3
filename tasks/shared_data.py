"""The data of a sweep's trials, read once for all that share it."""

from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.config.sweep import Sweep
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from tasks.reading import compress_all, source_of


class SharedData:
    """Datasets by what a trial's `data` section asks for.

    Trials that differ in `data.features` share one pass over all features that any of them uses;
    each then leaves columns out of the R factor. Where rows with missing values are dropped, which
    rows are left depends on the features, and each choice has a pass of its own.

    Attributes:
        varies: whether some parameter of the sweep belongs to `data`.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.varies = any(key.startswith("data.") for key in sweep.search.parameters)
        self._features = sweep.varied_features
        self._shared = "data.features" in sweep.search.parameters
        self._known: dict[str, Dataset | InputError] = {}

    def of(self, config: Config, device: str) -> Dataset:
        """A trial's data, compressed on a device where it is not known yet.

        Raises:
            InputError: it is wrong; every time it is asked for.
        """
        data = config.data
        if self._shared and isinstance(data, TableData) and data.missing == "error":
            data = data.model_copy(update={"features": self._features and [*self._features]})
        key = data.model_dump_json()
        if key not in self._known:
            self._known[key] = self._read(data, device)
        found = self._known[key]
        if isinstance(found, InputError):
            raise found
        return found.narrowed(config.data)

    def _read(self, data: SyntheticData | TableData, device: str) -> Dataset | InputError:
        try:
            return compress_all(source_of(data), data, device)
        except InputError as error:
            return error
