"""Tests of tools/deploy. They need root, and a network and mounts of their own: `unshare --net --mount`, as tools/check runs
them from this file's parent folder, after tools/deploy/build-static and `cargo deb`."""
