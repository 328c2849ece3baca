#!/usr/bin/env python3
"""What makes many files at once: git clone of this repository, tar x of 5,000 files of 4 KiB, npm install of a small package from
npm's own cache; and rm -r of those 5,000. Seconds until the command ends; where that is not when the bytes are stored is the mount's affair (rclone, juicefs-wb and
outputfs-local store later; .git and node_modules are scratch of ours). 0: it failed."""
import os, shutil, subprocess, sys, tarfile, tempfile, io
from _turns import arguments, finish, now, take_turns

args = arguments()
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PACKAGE = 'mkdirp@3.0.1'
local = tempfile.mkdtemp(prefix='outputfs-trees.')
TAR, CACHE = f'{local}/many.tar', f'{local}/npm'


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=600)
    if done.returncode: raise OSError(f'{command[0]} in {cwd}: {done.stderr[-500:]}')


with tarfile.open(TAR, 'w') as tar:
    for i in range(5000):
        info = tarfile.TarInfo(f'd{i // 100:02}/f{i:04}.bin')
        info.size = 4096
        tar.addfile(info, io.BytesIO(os.urandom(4096)))
npm = ['npm', 'install', '--cache', CACHE, '--no-audit', '--no-fund', '--prefer-offline', PACKAGE]
os.makedirs(f'{local}/warm')
run(*npm, cwd=f'{local}/warm')

CASES = {
    'git_clone': lambda d: run('git', '-c', 'advice.detachedHead=false', 'clone', '-q', '--no-hardlinks', ROOT, f'{d}/clone', cwd='/'),
    'tar_x_5000': lambda d: run('tar', 'xf', TAR, cwd=d),
    'npm_install': lambda d: run(*npm, cwd=d),
    'rm_r_5000': lambda d: run('sh', '-c', 'rm -r *', cwd=d),
}
BEFORE = {'rm_r_5000': CASES['tar_x_5000']}


def case(d, what):
    def turn(rep):
        sub = f'{d}/{what}{rep}'
        os.mkdir(sub)
        t = now()
        try:
            if what in BEFORE:
                BEFORE[what](sub)
                t = now()
            CASES[what](sub)
        except OSError as e:
            # A peer without symlinks cannot do npm's.
            print(f'  {d}: {what} failed: {e}', file=sys.stderr)
            return {'s': 0.0}
        return {'s': now() - t}
    return turn


try:
    finish(args, {what: take_turns(min(args.reps, 2), {n: case(d, what) for n, d in args.dirs.items()}) for what in CASES})
finally:
    shutil.rmtree(local, ignore_errors=True)
