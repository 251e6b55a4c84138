#!/bin/sh
# Puts its input into the fenced block behind a line `<!-- figures: NAME -->` of a document.
#
# Usage: COMMAND | figures.sh docs/FILE.md NAME
set -eu
doc=$1 name=$2
text=$(mktemp)
new=$(mktemp)
trap 'rm -f "$text" "$new"' EXIT
cat >"$text"
[ -s "$text" ] || {
	echo "figures.sh: no figures" >&2
	exit 1
}
awk -v mark="<!-- figures: $name -->" -v text="$text" '
	inside && /^```$/ { inside = 0 }
	!inside { print }
	wanted && /^```$/ {
		while ((getline line < text) > 0) print line
		wanted = 0
		inside = 1
		found = 1
	}
	$0 == mark { wanted = 1 }
	END { exit !found }
' "$doc" >"$new" || {
	echo "figures.sh: $doc has no block of figures of $name" >&2
	exit 1
}
cat "$new" >"$doc"
