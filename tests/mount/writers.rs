//! Whose labels a file gets, and which versions take one another's place: it goes by the process that wrote.

use super::on_every_mount;
use crate::support::{TestMount, python};

on_every_mount!(labels_are_of_the_very_process);
on_every_mount!(@ &["--keep-versions", "all"]; whoever_was_told_an_id_keeps_it);

/// Without address randomisation processes that start in one clock tick look alike, and so does one that runs its program anew.
fn labels_are_of_the_very_process(m: &TestMount) {
    python(
        r#"import os, subprocess
def env(agent): return dict(os.environ, OUTPUTFS_AGENT_ID=agent, OUTPUTFS_META_RUN=agent)
running = []
for n in range(120):
    running.append(subprocess.Popen(["setarch", "-R", "sh", "-c", f"echo {n:03} > f{n:03}"], env=env(f"agent-{n:03}")))
    if len(running) == 12:
        for child in running: assert child.wait() == 0
        running = []
# One process, the same program again and again: `exec` alone tells.
again = 'n=$1; echo $n > e$n; [ $n = 039 ] || OUTPUTFS_AGENT_ID=agent-$(printf %03d $((10#$n + 1))) exec bash -c "$2" x $(printf %03d $((10#$n + 1))) "$2"'
subprocess.run(["setarch", "-R", "bash", "-c", again, "x", "000", again], env=dict(os.environ, OUTPUTFS_AGENT_ID="agent-000"), check=True)
agent = lambda f: os.getxattr(f, "user.artifact.agent_id").decode()
wrong = [f for f in sorted(os.listdir(".")) if agent(f) != "agent-" + f[1:]]
wrong += [f for f in sorted(os.listdir(".")) if f[0] == "f" and os.getxattr(f, "user.run").decode() != "agent-" + f[1:]]
assert not wrong, (len(wrong), wrong)"#,
        m.path(),
    );
}

/// A program appends as fast as it can, others look: nobody is left with an ID that is unknown afterwards.
fn whoever_was_told_an_id_keeps_it(m: &TestMount) {
    python(
        r#"import os, subprocess, sys
LOOK = """
import os, time
end, seen = time.monotonic() + 20, set()
while len(seen) < 12 and time.monotonic() < end:
    time.sleep(0.001)
    try: seen.add(os.getxattr("log", "user.artifact.id").decode())
    except OSError as e: assert e.errno == 16, e  # EBUSY: faster than can be looked at
print(*seen)
"""
open("log", "w").write("first\n")
lookers = [subprocess.Popen([sys.executable, "-c", LOOK], stdout=subprocess.PIPE, text=True) for _ in range(2)]
n = 0
while any(l.poll() is None for l in lookers):
    with open("log", "w") as f: f.write(f"{n}\n")
    n += 1
seen = {artifact for l in lookers for artifact in l.communicate()[0].split()}
assert all(l.returncode == 0 for l in lookers) and len(seen) > 1, len(seen)
lost = [a for a in seen if not os.path.exists(f".by-id/{a}")]
assert not lost, (len(lost), len(seen), n)"#,
        m.path(),
    );
}
