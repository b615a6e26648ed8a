# make demo     mounts a sample guest disk and copies a file out of it, step by step
# make test     runs every test
# make          builds the programs into target/dist
# make install  puts them under PREFIX (default /usr/local)
# All of them install what is missing first, and are quiet about what is already done.

SHELL := /bin/sh
CARGO := cargo
TARGET := x86_64-unknown-linux-gnu
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DIST := $(TARGET_DIR)/dist
PREFIX := /usr/local
PROGRAMS := guestmount guestunmount guestfs-appliance

.PHONY: build demo test check install clean setup

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

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --quiet -- -D warnings

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/guestfs"
	for program in $(PROGRAMS); do install "$(DIST)/$$program" "$(DESTDIR)$(PREFIX)/bin/"; done
	install "$(DIST)/guestfsd" "$(DESTDIR)$(PREFIX)/lib/guestfs/"

clean:
	$(CARGO) clean
