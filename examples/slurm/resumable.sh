# For batch scripts: runs a command that can be resumed, and queues the job again when its time is over.
#
# SLURM sends USR1 to the batch script before the time limit (#SBATCH --signal=B:USR1@60). It is passed on to the
# command, which saves what is in flight and ends with the exit code 75: the job is then queued again under its own
# number, and the command is run again. Every other end of the command is the end of the job.

resumable() {
    local command stopping="" code=0
    "$@" &
    command=$!
    trap 'stopping=1; kill -USR1 "$command" 2>/dev/null' USR1
    trap 'stopping=1; kill -TERM "$command" 2>/dev/null' TERM
    wait "$command" || code=$?
    if [ -n "$stopping" ]; then # the signal has ended the wait, not the command
        code=0
        wait "$command" || code=$?
    fi
    trap - USR1 TERM
    if [ "$code" -eq 75 ]; then
        echo "$(date '+%F %T') job $SLURM_JOB_ID: stopped before its end, queued again"
        scontrol requeue "$SLURM_JOB_ID"
        sleep 60 # requeueing ends this script
    fi
    return "$code"
}

# Begin a search, or go on with it: search_or_resume RUN_FOLDER [arguments of evo search]
search_or_resume() {
    local run=$1
    shift
    if [ -e "$run/journal.jsonl" ]; then
        exec evo resume "$run"
    fi
    exec evo search "$@" --output "$run"
}
