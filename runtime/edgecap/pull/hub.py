"""Files of the hub by `huggingface_hub`, where that is installed: its cache, its login and its transfers are used."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from edgecap.errors import DownloadError, reason_of
from edgecap.pull.cache import Said, digest_of
from edgecap.pull.download import NotThereError, Wanted
from edgecap.pull.places import HubFile


def has_hub_library() -> bool:
    """Whether `huggingface_hub` is installed."""
    return find_spec("huggingface_hub") is not None


def hub_download(hub: HubFile, endpoint: str, wanted: Wanted, *, offline: bool) -> tuple[Path, Said]:
    """The file in the library's own cache, and what is known of it.

    Raises NotThereError, DownloadError (also for a file above `wanted.most`, before it is got).
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    name = f"hf://{hub.repository}/{hub.file}"
    try:
        declared, revision = "", ""
        if not offline:
            url = hf_hub_url(hub.repository, hub.file, revision=hub.revision, endpoint=endpoint)
            metadata = get_hf_file_metadata(url, timeout=30.0)
            if metadata.size is not None and metadata.size > wanted.most:
                raise DownloadError(
                    f"{name} has {metadata.size} bytes and at most {wanted.most} are taken; nothing was changed"
                )
            revision = metadata.commit_hash or ""
            declared = metadata.etag if metadata.etag and len(metadata.etag) == 64 else ""
        path = Path(
            hf_hub_download(
                hub.repository,
                hub.file,
                revision=hub.revision,
                endpoint=endpoint,
                library_name="edgecap",
                local_files_only=offline,
            )
        )
    except DownloadError:
        raise
    except Exception as error:  # the library's errors come from several HTTP libraries
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403, 404} or offline:
            raise NotThereError(f"{name} does not exist ({'not in its cache' if offline else status})") from error
        raise DownloadError(f"{name} cannot be got by huggingface_hub ({reason_of(error)[:200]})") from error
    return path, Said(declared=declared, revision=revision, sha256=digest_of(path), size=path.stat().st_size)
