differs_user() {
    while IFS=$split read -r name folder; do
        if ! there=$(getent passwd "$name"); then
            echo "make the user $name"
        elif [ "$(printf %s "$there" | cut -d: -f5)" != "vrooli-deploy $stack" ]; then
            echo "the user $name was there before, and is not the app's"
        else
            case $there in
                *":$folder:/usr/sbin/nologin") ;;
                *) echo "change home or shell of the user $name" ;;
            esac
        fi
    done
}
