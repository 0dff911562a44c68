"""Disks of one's own for a node's folder: a file system on a loop device that can lose its power, a
small tmpfs that can be filled. All of it needs root; all of it is gone at the test's end.

The power goes by the ioctl that file systems have for it (XFS_IOC_GOINGDOWN, which ext4 answers as
EXT4_IOC_SHUTDOWN) with the flag that flushes nothing: what was not synced, names included, is lost,
and every call that follows fails. Mounting again replays the journal, as after a real cut.
"""
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time

from cluster import PATIENCE

SHUTDOWN = 0x8004587D  # _IOR('X', 125, uint32_t)
NO_LOG_FLUSH = 2
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
        "xfs": ["mkfs.xfs", "-q", "-f"]}
SIZE = 320 << 20  # the smallest that mkfs.xfs makes is 300 MiB; sparse, so it costs what is used


def command(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def must(*words):
    done = command(*words)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def why_not(kind):
    """Why there can be no such disk here; "" if there can."""
    if os.geteuid() != 0:
        return "needs root, to mount %s" % kind
    if kind in MAKE and not shutil.which(MAKE[kind][0]):
        return "%s is not installed" % MAKE[kind][0]
    with open("/proc/filesystems") as known:
        if kind not in known.read().split() and command("modprobe", kind).returncode:
            return "this kernel has no " + kind
    if kind in MAKE and not command("losetup", "-f").stdout.strip():
        return "this kernel has no loop devices"
    return ""


class LoopDisk:
    """`kind` on a sparse file, mounted at `folder`. `holder` is where the file lies: in memory, if
    there is such a place, so that only the file system under test decides what survives.
    `options` are for mkfs."""

    def __init__(self, folder, kind, holder=None, options=()):
        self.folder, self.kind = folder, kind
        if holder is None:
            shm = "/dev/shm"
            holder = shm if os.path.isdir(shm) and os.access(shm, os.W_OK) else None
        number, self.image = tempfile.mkstemp(prefix="ftchat-e2e-", suffix="." + kind, dir=holder)
        os.truncate(number, SIZE)
        os.close(number)
        os.makedirs(folder, exist_ok=True)
        self.mounted = False
        must(*MAKE[kind], *options, self.image)

    def mount(self):
        """Mounted anew, journal replayed. While another mount namespace still has a copy of the old
        mount, this would only show the file system that was shut down: then it is tried again."""
        assert not self.mounted
        end = time.monotonic() + PATIENCE
        while True:
            must("mount", "-t", self.kind, "-o", "loop", self.image, self.folder)
            self.mounted = True
            try:
                probe = os.path.join(self.folder, "probe")
                os.close(os.open(probe, os.O_WRONLY | os.O_CREAT))
                os.remove(probe)
                return self
            except OSError:
                assert time.monotonic() < end, "the old mount is still held somewhere"
            self.unmount()
            time.sleep(0.1)

    def one_page_a_request(self):
        """The loop driver takes a write of which only a part went into its file for a good one. No
        request that is one page of that file can be such a write."""
        device = os.path.basename(must("findmnt", "-n", "-o", "SOURCE", self.folder).strip())
        with open("/sys/block/%s/queue/max_sectors_kb" % device, "w") as out:
            out.write("4")

    def cut(self):
        """The power is gone."""
        number = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(number, SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
        finally:
            os.close(number)

    def unmount(self):
        if self.mounted:
            must("umount", self.folder)
            self.mounted = False

    def close(self):
        if self.mounted:
            command("umount", "-l", self.folder)
            self.mounted = False
        os.remove(self.image)


class SmallDisk:
    """A tmpfs of `size` bytes at `folder`, with a ballast to fill it up."""

    def __init__(self, folder, size):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        must("mount", "-t", "tmpfs", "-o", "size=%d" % size, "ftchat-e2e", folder)

    def free(self):
        there = os.statvfs(self.folder)
        return there.f_bavail * there.f_frsize

    @property
    def ballast(self):
        return os.path.join(self.folder, "ballast")

    def fill(self):
        """Nothing is left, as if somebody else had filled the disk."""
        with open(self.ballast, "ab", buffering=0) as out:
            size = 1 << 20
            while size:
                try:
                    size = size if out.write(b"x" * size) else size // 2
                except OSError:
                    size //= 2

    def empty(self):
        """The ballast goes."""
        if os.path.exists(self.ballast):
            os.remove(self.ballast)

    def close(self):
        command("umount", "-l", self.folder)
