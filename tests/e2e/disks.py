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
    there is such a place, so that only the file system under test decides what survives."""

    def __init__(self, folder, kind, holder=None):
        self.folder, self.kind = folder, kind
        if holder is None:
            shm = "/dev/shm"
            holder = shm if os.path.isdir(shm) and os.access(shm, os.W_OK) else None
        number, self.image = tempfile.mkstemp(prefix="ftchat-e2e-", suffix="." + kind, dir=holder)
        os.truncate(number, SIZE)
        os.close(number)
        os.makedirs(folder, exist_ok=True)
        self.mounted = False
        must(*MAKE[kind], self.image)

    def mount(self):
        assert not self.mounted
        must("mount", "-t", self.kind, "-o", "loop", self.image, self.folder)
        self.mounted = True
        return self

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
