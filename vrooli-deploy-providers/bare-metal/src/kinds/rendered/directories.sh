differs_directories() {
    while IFS=$split read -r path mode owner_name group; do
        if [ -L "$path" ]; then
            echo "$path is a link"
        elif ! seen=$(stat -c '%a %U %G' "$path" 2>/dev/null); then
            echo "make $path"
        elif [ "$seen" != "$mode $owner_name $group" ]; then
            echo "$path is $seen, not $mode $owner_name $group"
        fi
    done
}
