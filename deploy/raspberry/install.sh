#!/usr/bin/env bash
# Installs edgecap on Raspberry Pi OS (64-bit) or Debian 12 and newer:
#   deploy/raspberry/install.sh WHEEL [--service]
# It installs three or four Debian packages, makes a Python environment in /opt/edgecap, and links /usr/local/bin/edgecap to it.
# With --service edgecap then listens from each boot on (edgecap service install --system). To undo all of it:
#   deploy/raspberry/install.sh --remove
set -euo pipefail

folder=/opt/edgecap link=/usr/local/bin/edgecap
packages=(libportaudio2 python3-venv ca-certificates)
# ALSA reaches a sound server by these plugins, which bring libavcodec and 90 packages more: only where there is one.
if command -v pulseaudio pipewire-pulse >/dev/null; then packages+=(libasound2-plugins); fi

if [ "$(id -u)" != 0 ]; then
    echo "it installs packages; type: sudo $0 $*" >&2
    exit 1
fi

if [ "${1-}" = --remove ]; then
    [ ! -e /etc/systemd/system/edgecap.service ] || "$link" service remove --system
    rm -rf "$folder" "$link"
    echo "removed $folder and $link; these stay: /etc/edgecap, /var/lib/edgecap, and the packages ${packages[*]}"
    exit 0
fi

wheel=${1-}
if [ ! -f "$wheel" ]; then
    echo "name edgecap's wheel, as in: sudo $0 edgecap-0.1.0-py3-none-any.whl (scripts/wheel makes it)" >&2
    exit 1
fi
if [ $# -gt 2 ] || [ "${2:---service}" != --service ]; then
    echo "only --service may follow the wheel; not: ${*:2}" >&2
    exit 1
fi
if [ "$(getconf LONG_BIT)" != 64 ]; then
    echo "this system has 32 bits, for which there is no ONNX Runtime; install the 64-bit Raspberry Pi OS" >&2
    exit 1
fi

apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"
trap 'rm -rf "$folder.new"' EXIT # nothing half-made stays where a step fails
rm -rf "$folder.new"
python3 -m venv "$folder.new"
"$folder.new/bin/python" -m pip install -q "$(realpath "$wheel")[mqtt]"
"$folder.new/bin/python" -m edgecap models >/dev/null # it works, before it replaces what was there
rm -rf "$folder"
mv "$folder.new" "$folder"
# The folder was moved, so the program is one line of its own instead of pip's, which names the old place.
printf '#!/bin/sh\nexec %s/bin/python -m edgecap "$@"\n' "$folder" >"$link"
chmod 755 "$link"

[ "${2-}" != --service ] || "$link" service install --system
# A service that ran before still has the program that was replaced.
if systemctl is-active --quiet edgecap 2>/dev/null; then systemctl restart edgecap; fi
echo "installed: $("$link" --version)"
echo "try: edgecap doctor; then: edgecap listen. To undo: sudo $0 --remove"
