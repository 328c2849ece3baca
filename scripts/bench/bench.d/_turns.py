"""What the extra measurements share: arguments, taking turns, medians."""
import argparse, json, os, shutil, statistics, sys, time

now = time.perf_counter


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument('mounts', nargs='+', help='NAME=DIR; NAME= is the harness\'s mount of that name')
    p.add_argument('--out', required=True)
    p.add_argument('--reps', type=int, default=3)
    a = p.parse_args()
    a.dirs = {}
    for m in a.mounts:
        name, _, d = m.partition('=')
        d = d or os.path.join(os.environ['MNT'], name)
        if not name.startswith('ext4') and not os.path.ismount(d):
            sys.exit(f'not mounted: {d}')
        a.dirs[name] = os.path.join(d, f'x{os.getpid()}')
        os.makedirs(a.dirs[name])
    return a


def take_turns(reps, cases):
    """cases: name -> function(rep) -> dict of numbers. Every repetition runs each once; the medians of each number."""
    runs = {name: [] for name in cases}
    for rep in range(reps):
        # The order turns too: the one after a heavy writer would always pay for its writeback.
        names = list(cases)
        for name in names[rep % len(names):] + names[:rep % len(names)]:
            os.sync()
            runs[name].append(cases[name](rep))
            print(f'  {name} {rep}:', {k: round(v, 2) for k, v in runs[name][-1].items()}, file=sys.stderr, flush=True)
    return {n: {k: statistics.median(r[k] for r in rs) for k in rs[0]} | {'runs': rs} for n, rs in runs.items()}


def finish(args, result):
    with open(args.out, 'w') as f:
        json.dump({'date': time.strftime('%F %T'), 'results': result}, f, indent=1)
    for d in args.dirs.values():
        shutil.rmtree(d, ignore_errors=True)
