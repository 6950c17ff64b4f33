#!/bin/sh
# Starts Alertmanager with the receivers that the environment names. The routes are those of alertmanager.yml; its
# receivers are replaced. Each of ALERT_PAGE, ALERT_FINANCE, ALERT_OPS and ALERT_WATCHDOG is a list, such as
# "pagerduty,slack", of files in receivers/; without it the alert is only printed (`log`). Secrets are files in secrets/.
#
#   sh prometheus/alertmanager.sh --print     show the configuration; wrong settings are told, as at the start
set -eu
here=$(cd "$(dirname "$0")" && pwd)
secrets=$here/secrets
config=$(mktemp "${TMPDIR:-/tmp}/alertmanager.XXXXXX")

wrong() { echo "alertmanager.sh: $1" >&2; exit 1; }

# receiver NAME LIST: one receiver. The files are here-documents: ${…} is filled in, ${…:?…} must be set.
receiver() {
  receiver=$1
  case ",$2," in *,log,*web*|*web*,log,*) wrong "log is a webhook, too: give $1 one of the two" ;; esac
  echo "  - name: $receiver"
  for kind in $(echo "$2" | tr ',' ' '); do
    [ -f "$here/receivers/$kind.yml" ] || wrong "there is no receiver \"$kind\" for $1; there are $(ls "$here/receivers" | sed s/.yml// | tr "\n" " ")"
    eval "cat <<END
$(cat "$here/receivers/$kind.yml")
END"
  done
}

{
  sed '/^receivers:/,$d' "$here/alertmanager.yml"
  echo "receivers:"
  receiver page "${ALERT_PAGE:-log}"
  receiver finance "${ALERT_FINANCE:-log}"
  receiver ops "${ALERT_OPS:-log}"
  receiver watchdog "${ALERT_WATCHDOG:-log}"
} > "$config"
for file in $(sed -n 's/.*_file: //p' "$config"); do
  [ -r "$file" ] || wrong "the secret $file is missing or cannot be read"
done
if [ "${1:-}" = --print ]; then
  cat "$config"
  exec rm "$config"
fi
exec "${ALERTMANAGER:-/bin/alertmanager}" --config.file="$config" "$@"
