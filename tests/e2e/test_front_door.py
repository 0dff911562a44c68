"""The front door: help, version, links, unknown words; ctl init and ctl check; the key files."""
import os
import stat
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("FTCHAT_BINARY") or os.path.join(ROOT, "ftchat"))
COMMANDS = ("node", "client", "monitor", "chaos", "ctl")


@pytest.fixture
def run(tmp_path):
    def call(*words, binary=BINARY, env=None, status=None, cwd=tmp_path):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FTCHAT_")}
        done = subprocess.run([binary, *words], cwd=cwd, env={**clean, **(env or {})}, timeout=30,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if status is not None:
            assert done.returncode == status, (words, done.stdout, done.stderr)
        return done
    return call


def one_line(text):
    return text.count("\n") == 1 and text.endswith("\n")


# --- help, version, unknown words ----------------------------------------------------------------

def test_help_names_every_command(run):
    for words in (("--help",), ("-h",), ("help",)):
        out = run(*words, status=0).stdout
        assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(run, command):
    for words in ((command, "--help"), (command, "-h"), ("help", command)):
        done = run(*words, status=0)
        assert done.stdout.startswith("usage: ftchat " + command) and done.stderr == ""


def test_version(run):
    out = run("--version", status=0).stdout
    assert out.startswith("ftchat ") and one_line(out)
    for words in (("-V",), ("ctl", "--version"), ("ctl", "init", "-V")):
        assert run(*words, status=0).stdout == out


@pytest.mark.parametrize("words, named, nearest", [
    (["nod"], "nod", "node"), (["clinet"], "clinet", "client"), (["kaos"], "kaos", "chaos"),
    (["--halp"], "--halp", "--help"), (["--verson"], "--verson", "--version"),
    (["help", "moniter"], "moniter", "monitor"),
    (["ctl", "ini"], "ini", "init"), (["ctl", "chekc"], "chekc", "check"),
    (["ctl", "init", "--confg", "x"], "--confg", "--config"),
    (["ctl", "check", "--kays"], "--kays", "--keys"),
])
def test_unknown_words(run, words, named, nearest):
    done = run(*words, status=2)
    assert one_line(done.stderr) and done.stdout == ""
    assert named + ": unknown" in done.stderr and nearest + "?" in done.stderr


def test_no_command(run):
    assert "--help" in run(status=2).stderr
    assert "--help" in run("ctl", status=2).stderr


def test_option_without_its_value(run):
    assert "--config: its value is missing" in run("ctl", "check", "--config", status=2).stderr
    assert "-c: its value is missing" in run("ctl", "check", "-c", status=2).stderr
    assert "--keys: takes no value" in run("ctl", "check", "--keys=x", status=2).stderr


@pytest.mark.parametrize("command", ["chaos"])
def test_commands_to_come_say_so(run, command):
    done = run(command, status=1)
    assert done.stderr == "ftchat %s: not in this build yet\n" % command


def test_control_characters_do_not_reach_the_terminal(run):
    done = run("no\x1b[31mde\n", status=2)
    assert "\x1b" not in done.stderr and one_line(done.stderr)


def test_a_full_disk_under_stdout_is_an_error(run):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "standard output" in done.stderr


# --- links -----------------------------------------------------------------------------------------

def test_install_makes_links_that_are_commands(run, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    run("--install", str(links), status=0)
    run("--install", str(links), status=0)  # again is no error
    assert sorted(os.listdir(links)) == sorted("ftchat-" + c for c in COMMANDS)
    for command in COMMANDS:
        out = run("--help", binary=str(links / ("ftchat-" + command)), status=0).stdout
        assert out.startswith("usage: ftchat " + command)


def test_install_never_replaces(run, tmp_path):
    (tmp_path / "ftchat-ctl").write_text("mine")
    done = run("--install", str(tmp_path), status=1)
    assert one_line(done.stderr) and (tmp_path / "ftchat-ctl").read_text() == "mine"
    assert "no folder given" in run("--install", status=2).stderr
    run("--install", str(tmp_path / "missing"), status=1)


def test_a_link_with_the_bare_name(run, tmp_path):
    os.symlink(BINARY, tmp_path / "ctl")
    assert run("--help", binary=str(tmp_path / "ctl")).stdout.startswith("usage: ftchat ctl")


# --- ctl init --------------------------------------------------------------------------------------

def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))
            if (folder / name).is_file()}


def test_init_with_hosts(run, tmp_path):
    out = run("ctl", "init", "h1", "h2:8000", "[::1]:9", "--name", "lab", status=0).stdout
    assert sorted(os.listdir(tmp_path)) == ["data", "ftchat.ini", "ftchat.key", "ftchat.pub"]
    assert stat.S_IMODE(os.stat(tmp_path / "ftchat.key").st_mode) == 0o600
    assert out.count("made ") == 4
    good = run("ctl", "check", status=0)
    assert good.stdout == "ftchat.ini: good: cluster lab, 3 nodes\n" and good.stderr == ""
    before = contents(tmp_path)
    for words in (("ctl", "init"), ("ctl", "init", "h1", "h2:8000", "[::1]:9")):
        assert "everything is there already" in run(*words, status=0).stdout
    done = run("ctl", "init", "h1", "h2", status=1)
    assert "with other nodes" in done.stderr
    assert contents(tmp_path) == before


def test_init_of_the_shipped_ini(run, tmp_path):
    (tmp_path / "ftchat.ini").write_bytes(open(os.path.join(ROOT, "ftchat.ini"), "rb").read())
    run("ctl", "init", status=0)
    assert (tmp_path / "data").is_dir()
    assert "cluster demo, 3 nodes" in run("ctl", "check", status=0).stdout


def test_init_works_from_elsewhere(run, tmp_path):
    (tmp_path / "far").mkdir()
    run("ctl", "init", "h", "--config", "far/own.ini", status=0)
    assert sorted(os.listdir(tmp_path / "far")) == ["data", "ftchat.key", "ftchat.pub", "own.ini"]
    environment = {"FTCHAT_CONFIG": str(tmp_path / "far" / "own.ini")}
    assert "everything" in run("ctl", "init", env=environment, status=0).stdout
    assert "own.ini: good" in run("ctl", "check", env=environment, cwd="/", status=0).stdout


def test_init_leaves_an_absolute_data_dir_to_its_owner(run, tmp_path):
    data = tmp_path / "disk"
    (tmp_path / "ftchat.ini").write_text("[cluster]\ndata_dir = %s\n[node.1]\nhost = h\n" % data)
    assert "data_dir is not there" in run("ctl", "init", status=0).stderr
    assert not data.exists()


def test_init_completes_but_never_mixes(run, tmp_path):
    run("ctl", "init", "h", status=0)
    key, pub = (tmp_path / "ftchat.key"), (tmp_path / "ftchat.pub")
    kept = pub.read_bytes()
    pub.unlink()
    run("ctl", "init", status=0)
    assert pub.read_bytes() == kept
    own = key.read_bytes()
    key.unlink()
    assert "copy the key" in run("ctl", "init", status=1).stderr
    assert not key.exists()
    (tmp_path / "other").mkdir()
    run("ctl", "init", "h", cwd=tmp_path / "other", status=0)
    pub.write_bytes((tmp_path / "other" / "ftchat.pub").read_bytes())
    key.write_bytes(own)
    key.chmod(0o600)
    assert "belongs to another key" in run("ctl", "init", status=1).stderr
    assert "belongs to another key" in run("ctl", "check", status=1).stderr
    assert key.read_bytes() == own


def test_init_says_what_it_cannot(run, tmp_path):
    assert "no configuration" in run("ctl", "init", status=2).stderr
    assert "expected HOST" in run("ctl", "init", "a b", status=2).stderr
    assert "8 hosts: expected 1 to 7" in run("ctl", "init", *"abcdefgh", status=2).stderr
    assert "is taken by node.1" in run("ctl", "init", "h", "h", status=2).stderr
    assert "[cluster] name" in run("ctl", "init", "h", "--name", "a b", status=2).stderr
    assert "only for a new" in run("ctl", "init", "--name", "x", status=2).stderr
    assert os.listdir(tmp_path) == []


# --- the key files -----------------------------------------------------------------------------------

def test_key_files_in_every_state(run, tmp_path):
    run("ctl", "init", "h", status=0)
    key, pub = (tmp_path / "ftchat.key"), (tmp_path / "ftchat.pub")
    good_key, good_pub = key.read_bytes(), pub.read_bytes()

    def check(path, data, status, words, mode=0o600):
        path.write_bytes(data)
        path.chmod(mode)
        done = run("ctl", "check", status=status)
        assert str(path) in done.stderr and words in done.stderr, done.stderr
        assert good_key.split()[6].decode() not in done.stderr  # the secret is never shown
        key.write_bytes(good_key)
        key.chmod(0o600)
        pub.write_bytes(good_pub)

    for mode in (0o640, 0o604, 0o644, 0o620):
        check(key, good_key, 1, "chmod 600", mode)
    for length in range(0, len(good_key), 7):
        check(key, good_key[:length], 1, "cut short")
    for length in range(0, len(good_pub), 11):
        check(pub, good_pub[:length], 1, "cut short")
    for place in range(13, len(good_key), 17):
        changed = bytearray(good_key)
        changed[place] ^= 1
        check(key, bytes(changed), 1, "")
    check(key, good_key + b"\n", 1, "cut short or changed")
    check(key, b"-----BEGIN KEY-----\n", 1, "not a key file of ftchat")
    check(key, good_pub, 1, "this is the public half")
    check(pub, good_key, 1, "this is the secret key")
    check(key, good_key.replace(b"ftchat key 1", b"ftchat key 2"), 1, "newer ftchat")
    check(key, good_key.upper(), 1, "not a key file of ftchat")
    key.unlink()
    assert "nodes, monitors and ctl need it" in run("ctl", "check", status=0).stderr


def test_key_file_that_is_a_folder(run, tmp_path):
    (tmp_path / "ftchat.key").mkdir()
    done = run("ctl", "init", "h", status=1)
    assert str(tmp_path / "ftchat.key") in done.stderr and not (tmp_path / "ftchat.ini").exists()


# --- ctl check ---------------------------------------------------------------------------------------

def test_check_names_every_mistake(run, tmp_path):
    (tmp_path / "ftchat.ini").write_text(
        "[cluster]\nnam = x\n[node.1]\nhost = h\nport = 70000\n[log]\nsegment_mb = 0\n[nodes]\n")
    done = run("ctl", "check", status=2)
    lines = done.stderr.splitlines()
    assert len(lines) == 4 and all(l.startswith("ftchat ctl check: ftchat.ini:") for l in lines)
    assert "ftchat.ini:2: [cluster] nam: unknown key" in lines[0]
    assert "ftchat.ini:5: [node.1] port: 70000: expected a number from 1 to 65535" in lines[1]
    assert "ftchat.ini:7: [log] segment_mb: 0: expected a number from 1 to 1024" in lines[2]
    assert "ftchat.ini:8: [nodes]: unknown section" in lines[3]


def test_check_of_files_that_are_none(run, tmp_path):
    assert "no configuration" in run("ctl", "check", status=2).stderr
    assert "No such file" in run("ctl", "check", "--config", "x.ini", status=2).stderr
    (tmp_path / "ftchat.ini").mkdir()
    assert "Is a directory" in run("ctl", "check", status=2).stderr
    (tmp_path / "big.ini").write_text("\n" * 70000)
    assert "too long" in run("ctl", "check", "-c", "big.ini", status=2).stderr
    (tmp_path / "noise.ini").write_bytes(os.urandom(4000))
    assert run("ctl", "check", "--config=noise.ini", status=2).stderr.isprintable() is False


def test_check_warns_of_open_doors(run, tmp_path):
    (tmp_path / "ftchat.ini").write_text(
        "[node.1]\nhost = 192.0.2.1\n[node.2]\nhost = 192.0.2.2\n"
        "[accounts]\nregistration = open\n[monitor]\nhttp = 192.0.2.1:80\n[chaos]\nenabled = yes\n")
    run("ctl", "init", status=0)
    done = run("ctl", "check", status=0)
    assert done.stderr.count("warning: ") == 4
    for word in ("registration", "http", "chaos", "2 nodes"):
        assert word in done.stderr


def test_check_prints_every_key(run):
    out = run("ctl", "check", "--keys", status=0).stdout
    assert "[node.N]" in out and "segment_mb" in out and "1 to 1024" in out and "default 16" in out
