# Runs a command on a leash: when standard input ends, the command is stopped and the scratch directory is removed.
# Standard input is a pipe whose other end the starting process holds, so it ends however that process ends.
#
# usage: leash.sh SIGNAL GRACE_SECONDS SCRATCH_DIRECTORY COMMAND [ARGUMENT...]     (an empty SCRATCH_DIRECTORY: none)

signal=$1 grace=$2 scratch=$3
shift 3

# A background command gets /dev/null as its standard input; the pipe is kept aside for the one that watches it.
exec 3<&0
"$@" </dev/null 3<&- &
child=$!

released=
trap 'released=yes' USR1
trap 'released=yes; kill -s "$signal" "$child" 2>/dev/null' HUP INT TERM

{
    read -r _
    kill -s USR1 "$$"
    kill -s "$signal" "$child"
    waited=0
    while [ "$waited" -lt "$grace" ] && kill -0 "$child"; do
        sleep 1
        waited=$((waited + 1))
    done
    kill -s KILL "$child"
} <&3 >/dev/null 2>&1 &
watcher=$!
exec 3<&-

# `wait` returns early when a trap ran, and at once when the command has already ended.
while kill -0 "$child" 2>/dev/null; do
    wait "$child" 2>/dev/null
    status=$?
done
kill "$watcher" 2>/dev/null

# A command that ended by itself leaves its directory behind, for whoever looks into why.
if [ -n "$released" ] && [ -n "$scratch" ]; then
    rm -rf -- "$scratch"
fi
exit "${status:-1}"
