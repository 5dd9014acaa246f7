# Becomes our program, which serves this host's fleet to whoever reads and writes here.
exec /var/lib/vrooli-deploy/program __vrooli-deploy-child agent /var/lib/vrooli-deploy/workspace vrooli-deploy-supervisor.service
