#!/bin/bash
# Configures the broker from the environment as the official image does (RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS,
# files in /etc/rabbitmq/conf.d), then runs it as its own user. The container may be stopped and started again.
set -euo pipefail

# Old Erlang closes every file descriptor that could be open before it starts a program, up to this limit.
ulimit -Sn 16384 2>/dev/null || true

home=/var/lib/rabbitmq
umask 077
[ -e $home/.erlang.cookie ] || head -c 24 /dev/urandom | base64 >$home/.erlang.cookie
[ "${HOME:-$home}" = $home ] || cp -f $home/.erlang.cookie "$HOME/.erlang.cookie" # for rabbitmqctl as root
umask 022
mkdir -p /etc/rabbitmq/conf.d /var/log/rabbitmq
{
  echo "loopback_users = none"
  echo "log.console = true"
  echo "log.file = false"
  if [ -n "${RABBITMQ_DEFAULT_USER:-}" ]; then echo "default_user = $RABBITMQ_DEFAULT_USER"; fi
  if [ -n "${RABBITMQ_DEFAULT_PASS:-}" ]; then echo "default_pass = $RABBITMQ_DEFAULT_PASS"; fi
} >/etc/rabbitmq/conf.d/10-defaults.conf
unset RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_PASS
echo "[rabbitmq_management]." >/etc/rabbitmq/enabled_plugins
chown -R rabbitmq:rabbitmq $home /etc/rabbitmq /var/log/rabbitmq
chmod 400 $home/.erlang.cookie

if [ "$1" = rabbitmq-server ]; then
  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups env HOME=$home /usr/lib/rabbitmq/bin/rabbitmq-server
fi
exec "$@"
