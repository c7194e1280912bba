"""Submit a study to a cluster as a Ray job, follow the job, detach from it and find it again; torch is not needed.

The job runs the code of this installation, which is sent to the cluster as one archive. No pickles are exchanged
between the two machines. Requests go to the dashboard of the cluster's head; a first request with short timeouts checks
that it is a dashboard.
"""
