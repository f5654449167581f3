"""make clean-cache: delete what is kept of files that were read. `python -m flows.clean_cache`"""

from flows.support.command import main, prepare_environment


def clean_cache() -> None:
    """Delete what is kept of files that were read; the next run reads them once more."""
    prepare_environment()
    from tasks.factor_cache import FactorCache

    cache = FactorCache.current()
    if cache.folder is None:
        print("What is kept of files is not on this machine. Nothing was deleted.")
    else:
        print(f"Deleted {cache.shrink(most_bytes=0) / 1e6:,.1f} MB in {cache.folder}.")


if __name__ == "__main__":
    main(clean_cache)
