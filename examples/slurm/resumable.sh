# For batch scripts: runs a command that can be resumed, and queues the job again when its time is over.
#
# SLURM sends USR1 to the batch script before the time limit (#SBATCH --signal=B:USR1@60). It is passed on to the
# command, which saves what is in flight and ends with the exit code 75: the job is then queued again under its own
# number, and the command is run again. The same happens if the signal ends the command before it can handle it
# (138 = 128 + USR1), because then nothing has begun. Any other exit of the command ends the job.

resumable() {
    local command="" warned="" signalled="" code=0
    trap 'signalled=1 warned=1; pass_on USR1' USR1 # from here on, so that a signal that comes early is not lost
    trap 'signalled=1; pass_on TERM' TERM
    "$@" &
    command=$!
    [ -z "$signalled" ] || pass_on "$([ -n "$warned" ] && echo USR1 || echo TERM)"
    while :; do
        signalled="" code=0
        wait "$command" || code=$?
        [ -n "$signalled" ] || break # a signal has ended the wait, not the command: the first, or one more
    done
    if [ "$code" -eq 75 ] || { [ -n "$warned" ] && [ "$code" -eq 138 ]; }; then
        trap '' USR1 TERM # nothing must come between
        echo "$(date '+%F %T') job $SLURM_JOB_ID: stopped before its end, queued again"
        scontrol requeue "$SLURM_JOB_ID"
        trap - TERM
        sleep 60 # requeueing ends this script
    fi
    trap - USR1 TERM
    return "$code"
}

# Pass a signal on to the command of `resumable`, if it has one already.
pass_on() {
    [ -z "$command" ] || kill -s "$1" "$command" 2>/dev/null
}

# Start a search, or resume it: search_or_resume RUN_FOLDER [arguments of evo search]
search_or_resume() {
    local run=$1
    shift
    if [ -e "$run/journal.jsonl" ]; then
        exec evo resume "$run"
    fi
    exec evo search "$@" --output "$run"
}
