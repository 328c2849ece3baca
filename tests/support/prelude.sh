# Read by bash before each test script (BASH_ENV), so that the script's own lines keep their numbers.
unset BASH_ENV
set -E
# A failing script names its line and the command.
trap 'printf "line %s: \`%s\` ended with %s\n" "$LINENO" "$BASH_COMMAND" "$?" >&2' ERR

# refuses [-e ERRNO] CMD…: CMD must fail, and with -e say that errno's text. A bare `! CMD` in the middle of a script
# never fails it. A redirection that must fail: refuses eval 'echo x > f'. CMD runs in a subshell of its own.
refuses() {
    local errno='' text='' said status=0
    if [ "$1" = -e ]; then
        errno=$2
        shift 2
        text=$(errno_text "$errno") || return 1
    fi
    if said=$(LC_ALL=C "$@" 2>&1 < /dev/null); then
        echo "not refused: $*: $said" >&2
        return 1
    else
        status=$?
    fi
    # No such command, or ended by a signal: nobody refused anything.
    if [ "$status" -ge 126 ]; then
        echo "ended with $status instead of being refused: $*: $said" >&2
        return 1
    fi
    if [[ $said != *"$text"* ]]; then
        echo "refused, but not with $errno ($text): $*: $said" >&2
        return 1
    fi
}

# lacks PATTERN CMD…: CMD succeeds and no line of its output matches (`! CMD | grep` would also hold where CMD fails).
lacks() {
    local said found
    said=$("${@:2}") || return 1
    if found=$(grep -E -- "$1" <<< "$said"); then
        echo "not to be in ${*:2}: $found" >&2
        return 1
    fi
}

# What the C library says of an errno in the C locale (getfattr and setfattr have words of their own for ENODATA).
errno_text() {
    case $1 in
    E2BIG) echo 'Argument list too long' ;;
    EACCES) echo 'Permission denied' ;;
    EBUSY) echo 'Device or resource busy' ;;
    EDQUOT) echo 'Disk quota exceeded' ;;
    EEXIST) echo 'File exists' ;;
    EFBIG) echo 'File too large' ;;
    EINVAL) echo 'Invalid argument' ;;
    EIO) echo 'Input/output error' ;;
    EISDIR) echo 'Is a directory' ;;
    ELOOP) echo 'Too many levels of symbolic links' ;;
    ENAMETOOLONG) echo 'File name too long' ;;
    ENODATA) echo 'No such attribute' ;;
    ENOENT) echo 'No such file or directory' ;;
    ENOSPC) echo 'No space left on device' ;;
    ENOTDIR) echo 'Not a directory' ;;
    ENOTEMPTY) echo 'Directory not empty' ;;
    EOPNOTSUPP | ENOTSUP) echo 'Operation not supported' ;;
    EPERM) echo 'Operation not permitted' ;;
    ERANGE) echo 'Numerical result out of range' ;;
    EROFS) echo 'Read-only file system' ;;
    ESTALE) echo 'Stale file handle' ;;
    EXDEV) echo 'Invalid cross-device link' ;;
    *)
        echo "errno_text: $1 is not known here" >&2
        return 1
        ;;
    esac
}
