# What of ours is staged here. Reads only.
for marker in /var/lib/vrooli-deploy/workspace/apps/*/*/releases/*/artefact; do
    [ -f "$marker" ] || continue
    place=${marker#/var/lib/vrooli-deploy/workspace/apps/}
    place=${place%/artefact}
    printf 'staged\t%s %s\n' "${place%%/releases/*}/${place##*/}" "$(cut -d ' ' -f 1 <"$marker")"
done
program=$(readlink /var/lib/vrooli-deploy/program 2>/dev/null || :)
printf 'program\t%s\n' "${program#programs/}"
