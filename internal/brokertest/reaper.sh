# Removes the containers of one test process when it ends, however it ends: the
# process holds the other end of this script's stdin and never writes to it.
# Arguments: the values of the labels patchbay.test.owner and patchbay.test.pid.
owner=$1 pid=$2
trap '' HUP INT TERM # Ctrl-C is for the tests; what they leave is still to be removed

# What is left of processes whose reaper was itself killed.
docker ps -a --filter "label=patchbay.test.owner=$owner" --format '{{.ID}} {{.Label "patchbay.test.pid"}}' |
  while read -r id of; do kill -0 "$of" || docker rm -f -v "$id"; done

cat
docker ps -aq --filter "label=patchbay.test.owner=$owner" --filter "label=patchbay.test.pid=$pid" |
  xargs -r docker rm -f -v
