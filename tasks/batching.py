"""Which files one task compresses."""

from collections.abc import Iterator, Sequence

from plumbline.data.files import DataFile
from tasks.cluster import cores

# Bytes of files in a task. Fewer are not worth a task run of their own, more make a long wait of
# what a lost worker had not finished. In between there are four tasks a worker, so that all end
# at about the same time.
LEAST_BATCH, MOST_BATCH, BATCHES_A_WORKER = 16 << 20, 1 << 30, 4
FILES_A_BATCH = 64  # at most: the command holds the summaries of some batches at a time


def batches_of(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files in their order, those of some size together."""
    share = sum(file.size for file in files) // (BATCHES_A_WORKER * cores())
    most = min(max(share, LEAST_BATCH), MOST_BATCH)
    batch, total = [], 0
    for file in files:
        if batch and (total + file.size > most or len(batch) == FILES_A_BATCH):
            yield batch
            batch, total = [], 0
        batch.append(file)
        total += file.size
    if batch:
        yield batch


def label_of(files: Sequence[DataFile]) -> str:
    """Some files in a few words, such as `part-0001.parquet and 63 more`."""
    return files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
