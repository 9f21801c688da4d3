#!/usr/bin/env bash
# Installs the system packages that Python wheels don't bring, through apt where this user may, else names them.
# With the argument "firmware" also what builds, simulates and flashes the illumination firmware; with "gui" what Qt's
# windows need, a display in memory to test them on, and a browser to test the phone's page in.
set -euo pipefail

# Package, and the file or Python module by which its presence is known.
packages=()
need() { [ -e "$2" ] || compgen -G "$2" >/dev/null || packages+=("$1"); }
lib=/usr/lib/$(uname -m)-linux-gnu
need libgl1 "$lib/libGL.so.1"
need libglib2.0-0 "$lib/libglib-2.0.so.0"
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ "${1:-}" = firmware ]; then
  need gcc /usr/bin/gcc
  need libc6-dev /usr/include/stdio.h
  need make /usr/bin/make
  need gcc-avr /usr/bin/avr-gcc
  need binutils-avr /usr/bin/avr-objcopy
  need avr-libc /usr/lib/avr/include/avr/io.h
  need libsimavr-dev /usr/include/simavr/sim_avr.h
  need libelf-dev /usr/include/libelf.h
  need avrdude /usr/bin/avrdude
  need arduino-core-avr /usr/share/arduino/hardware/arduino/avr/boards.txt
  need arduino-builder /usr/bin/arduino-builder
elif [ "${1:-}" = gui ]; then
  need xvfb /usr/bin/Xvfb
  # Ubuntu's chromium is a snap, which no test can start: there Playwright fetches one (the Makefile asks it to).
  grep -qs '^ID=ubuntu' /etc/os-release || need chromium /usr/bin/chromium
  need fonts-dejavu-core "/usr/share/fonts/truetype/*/*.ttf"
  need libegl1 "$lib/libEGL.so.1"
  need libfontconfig1 "$lib/libfontconfig.so.1"
  need libdbus-1-3 "$lib/libdbus-1.so.3"
  need libxkbcommon-x11-0 "$lib/libxkbcommon-x11.so.0"
  need libxcb-icccm4 "$lib/libxcb-icccm.so.4"
  need libxcb-image0 "$lib/libxcb-image.so.0"
  need libxcb-keysyms1 "$lib/libxcb-keysyms.so.1"
  need libxcb-randr0 "$lib/libxcb-randr.so.0"
  need libxcb-render-util0 "$lib/libxcb-render-util.so.0"
  need libxcb-shape0 "$lib/libxcb-shape.so.0"
  need libxcb-sync1 "$lib/libxcb-sync.so.1"
  need libxcb-xfixes0 "$lib/libxcb-xfixes.so.0"
  need libxcb-xinerama0 "$lib/libxcb-xinerama.so.0"
  need libxcb-xkb1 "$lib/libxcb-xkb.so.1"
fi

[ ${#packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  run=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null && command -v apt-get >/dev/null; then
  run=(sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
else
  echo "These system packages are missing: ${packages[*]}" >&2
  echo "Install them, for example: sudo apt-get install ${packages[*]}" >&2
  exit 1
fi
"${run[@]}" update -qq
"${run[@]}" install -y -qq --no-install-recommends "${packages[@]}"
