"""PyTorch for aarch64 without CUDA, which ExecuTorch's Python runtime is linked with.

PyPI's aarch64 build of PyTorch wants 2 GB of CUDA libraries before it loads. A Raspberry Pi never calls them, so one
small library stands in for all: it has every symbol that the rest of PyTorch names and nothing else defines. Its
functions do nothing, its objects are zeros, its type descriptions are real ones, since PyTorch registers those types
when it starts. The distributed part, whose start makes such objects, is switched off. What remains is PyTorch's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgecap_bench.arm.packages import ArmLabError, called, install_wheels

TOOLS = "binutils-aarch64-linux-gnu"
"""Debian's package of the assembler and the linker for aarch64."""
WITHOUT_DEPENDENCIES = ("executorch", "torch")
NEEDED = ("filelock", "fsspec", "jinja2", "networkx", "pyyaml", "sympy", "typing-extensions")
"""Dependencies of the two that running programs needs; CUDA, TorchAO and data frames are not among them."""
CUDA_PARTS = re.compile(r"lib(torch_cuda|c10_cuda|caffe2_nvrtc|torch_nvshmem|torch_cuda_linalg)")
STAND_IN = "libnocuda.so"
START = "        _load_global_deps()\n    from torch._C import *"
WITHOUT_DISTRIBUTED = """        _load_global_deps()
    import torch._C as _without
    for _name in ("_c10d_init", "_rpc_init", "_dist_autograd_init"):
        if hasattr(_without, _name):
            delattr(_without, _name)
    from torch._C import *"""
ASSEMBLY_HEAD = (".bss", ".balign 16", ".Lzeros: .zero 65536")
OBJECT = re.compile(r"_ZT[VS]|_ZZ|_ZGV|_ZN.*E$")
"""Mangled names of tables, names and variables; all others are functions (Itanium C++ ABI, section 5.1)."""


def install_torch(pins: Iterable[str], folder: Path, tools: Path, system: Path) -> None:
    """Unpack ExecuTorch, PyTorch and the stand-in for CUDA into `folder`.

    `tools` holds the unpacked package `TOOLS`, `system` Debian's files for arm64. Raises ArmLabError.
    """
    pins = list(pins)
    alone = [pin for pin in pins if pin.partition("==")[0] in WITHOUT_DEPENDENCIES]
    install_wheels(alone, folder, alone=True)
    install_wheels([pin for pin in pins if pin not in alone], folder)
    library = folder / "torch" / "lib"
    for path in library.glob("*.so*"):
        if CUDA_PARTS.match(path.name):
            path.unlink()
    users = [
        *library.glob("*.so*"),
        *(folder / "torch").glob("_C*.so"),
        *(folder / "executorch" / "extension" / "pybindings").glob("_portable_lib*.so"),
    ]
    libraries = [path for path in system.rglob("lib*.so*") if path.is_file() and path.suffix != ".py"]
    binutils = _Binutils(tools)
    missing = undefined(binutils, users, libraries)
    work = folder / "torch"
    assembly, versions = work / "nocuda.s", work / "nocuda.map"
    assembly.write_text(stand_in(missing), encoding="utf-8")
    versions.write_text(version_script(missing), encoding="utf-8")
    binutils.run("as", "-o", f"{work}/nocuda.o", str(assembly))
    options = ("-shared", "-soname", STAND_IN, "--version-script", str(versions), "--allow-shlib-undefined")
    standard_library = str(next(system.rglob("libstdc++.so.6")))
    binutils.run("ld", *options, "-o", str(library / STAND_IN), f"{work}/nocuda.o", standard_library)
    there = {path.name for path in (*users, *libraries)}
    for name in sorted({name for user in users for name in binutils.needed(user)} - there):
        (library / name).symlink_to(STAND_IN)
    start = folder / "torch" / "__init__.py"
    text = start.read_text(encoding="utf-8")
    if text.count(START) != 1:
        raise ArmLabError(
            "this version of PyTorch starts otherwise than the one that the Arm lab knows (2.13); leave "
            "ExecuTorch out with --runtime onnx --runtime litert"
        )
    start.write_text(text.replace(START, WITHOUT_DISTRIBUTED), encoding="utf-8")


def undefined(binutils: _Binutils, users: Iterable[Path], libraries: Iterable[Path]) -> dict[str, str]:
    """Symbols that `users` name and neither they nor `libraries` define → version wanted, "" for none.

    Python's own are the interpreter's.
    """
    users = list(users)
    wanted: dict[str, str] = {}
    for user in users:
        wanted |= {
            symbol: version
            for symbol, version in binutils.symbols(user, "--undefined-only").items()
            if not symbol.startswith(("Py", "_Py"))
        }
    for path in (*users, *(library for library in libraries if not library.is_symlink())):
        for symbol in binutils.symbols(path, "--defined-only"):
            wanted.pop(symbol, None)
    return wanted


def stand_in(symbols: Mapping[str, str]) -> str:
    """Assembly of a library that has these symbols.

    A function answers with the address of zeros, which does for a number, a pointer and a reference alike.
    """
    lines = [*ASSEMBLY_HEAD]
    for symbol in symbols:
        lines.append(f".globl {symbol}")
        if symbol.startswith("_ZTI"):
            lines += [
                ".section .rodata",
                f'.Lname_{symbol}: .string "{symbol[4:]}"',
                ".data",
                ".balign 16",
                f".type {symbol},%object",
                f"{symbol}: .quad _ZTVN10__cxxabiv117__class_type_infoE+16",
                f".quad .Lname_{symbol}",
                ".zero 48",
                f".size {symbol},64",
            ]
        elif OBJECT.match(symbol):
            lines += [".bss", ".balign 16", f".type {symbol},%object", f"{symbol}: .zero 4096", f".size {symbol},4096"]
        else:
            lines += [
                ".text",
                f".type {symbol},%function",
                f"{symbol}: adrp x0,.Lzeros",
                "add x0,x0,:lo12:.Lzeros",
                "ret",
                f".size {symbol},12",
            ]
    return "\n".join(lines) + "\n"


def version_script(symbols: Mapping[str, str]) -> str:
    """The versions of the symbols, in the syntax of a version script of the linker."""
    versions: dict[str, list[str]] = {}
    for symbol, version in symbols.items():
        if version:
            versions.setdefault(version, []).append(f"{symbol};")
    return "".join(f"{version} {{ global: {' '.join(names)} }};\n" for version, names in versions.items())


class _Binutils:
    """Debian's assembler, linker and readers of aarch64 files, unpacked in a folder."""

    def __init__(self, folder: Path) -> None:
        self._programs = folder / "usr" / "bin"
        self._libraries = next((folder / "usr" / "lib").glob("*/libbfd-*.so")).parent

    def run(self, tool: str, *arguments: str) -> str:
        """What a tool prints. Raises ArmLabError."""
        return called(
            [str(self._programs / f"aarch64-linux-gnu-{tool}"), *arguments],
            environment={"LD_LIBRARY_PATH": str(self._libraries)},
        )

    def symbols(self, library: Path, kind: str) -> dict[str, str]:
        """Dynamic symbols of a library → version; of the undefined ones only those that are not weak."""
        versions = {}
        for line in self.run("nm", "-D", kind, str(library)).splitlines():
            letter, symbol = line.split()[-2:]
            if kind == "--defined-only" or letter == "U":
                name, _, version = symbol.partition("@")
                versions[name] = version.lstrip("@")
        return versions

    def needed(self, library: Path) -> list[str]:
        """Libraries that a library is linked with."""
        return re.findall(r"\(NEEDED\).*\[(.*)\]", self.run("readelf", "-d", str(library)))
