#!/bin/sh
# nginx.conf as it is, but for where the workers are.
set -eu
sed -e 's/127.0.0.1:4466/worker-1:4466/' -e 's/127.0.0.1:4467/worker-2:4466/' /etc/perch/nginx.conf >/etc/nginx/conf.d/default.conf
