# make demo     mounts a sample guest disk and copies a file out of it, step by step
# make test     runs every test
# make soak     runs the long forms of the tests and prints figures; SOAK="kill disks" runs two of its parts
# make fuzz     runs each fuzz target for FUZZ_SECONDS (60); FUZZ="codec qcow2" runs two of them
# make bench    compares with the stock guestmount and a native mount, and writes bench/RESULTS.md (root: all of it)
# make bench-growth  measures guests of up to a million files, and writes its part of bench/RESULTS.md
# make          builds the programs into target/dist
# make install  puts them under PREFIX (default /usr/local)
# make install-umount-helper  has plain umount wait until the image is closed (remove-umount-helper: no longer)
# All of them install what is missing first, and are quiet about what is already done.

SHELL := /bin/sh
CARGO := cargo
TARGET := x86_64-unknown-linux-gnu
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DIST := $(TARGET_DIR)/dist
PREFIX := /usr/local
PROGRAMS := guestmount guestunmount guestinspect guestfs-appliance

.PHONY: build demo bench bench-growth test soak fuzz check install install-umount-helper remove-umount-helper
.PHONY: clean setup

build: setup
	@scripts/build "$(TARGET_DIR)" "$(TARGET)"

setup:
	@scripts/setup run

demo: build
	@scripts/demo "$(DIST)"

test:
	@scripts/setup test
	@scripts/build "$(TARGET_DIR)" "$(TARGET)"
	@scripts/test "$(TARGET_DIR)"

SOAK :=
soak: build
	@scripts/setup soak
	@scripts/soak "$(TARGET_DIR)" $(SOAK)

FUZZ :=
fuzz: setup
	@mkdir -p "$(TARGET_DIR)"
	@scripts/fuzz "$(TARGET_DIR)" $(FUZZ)

BENCH_OPTIONS :=
BENCH = "$(TARGET_DIR)/release/guestfs-bench" --programs "$(DIST)" --folder "$(TARGET_DIR)/bench" \
	--results bench/RESULTS.md

bench: build
	@scripts/setup bench
	@$(CARGO) build --release --quiet -p guestfs-bench
	@$(BENCH) --json "$(TARGET_DIR)/bench/comparison.json" compare $(BENCH_OPTIONS)

bench-growth: build
	@scripts/setup bench
	@$(CARGO) build --release --quiet -p guestfs-bench
	@$(BENCH) --json "$(TARGET_DIR)/bench/growth.json" growth $(BENCH_OPTIONS)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --quiet -- -D warnings

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/guestfs"
	for program in $(PROGRAMS); do install "$(DIST)/$$program" "$(DESTDIR)$(PREFIX)/bin/"; done
	install "$(DIST)/guestfsd" "$(DESTDIR)$(PREFIX)/lib/guestfs/"

install-umount-helper: install
	@scripts/umount-helper install "$(DESTDIR)/sbin" "$(PREFIX)/bin/guestunmount"

remove-umount-helper:
	@scripts/umount-helper remove "$(DESTDIR)/sbin" "$(PREFIX)/bin/guestunmount"

clean:
	$(CARGO) clean
