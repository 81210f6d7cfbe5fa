"""Probe: has the job of the given type on this host shown a sign of life in the last minute?

Exits 1 only when the database says that it has not. An absent database is nothing that a restart would mend.
"""

import os
import socket
import sys

import psycopg2

QUERY = """
    SELECT count(*) FROM job
    WHERE job_type = %s AND hostname IN %s AND state = 'running' AND latest_heartbeat > now() - interval '60 seconds'
"""

url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
try:
    with psycopg2.connect(url, connect_timeout=5) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY, (sys.argv[1], (socket.gethostname(), socket.getfqdn())))
        alive = cursor.fetchone()[0]
except psycopg2.OperationalError as error:
    print(f"database: {error}")
    sys.exit(0)
if not alive:
    sys.exit(f"no heartbeat of a {sys.argv[1]} on this host within 60 s")
