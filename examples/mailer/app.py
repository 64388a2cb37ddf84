"""The mailer's app: the only file that knows where jobs go.

The environment decides: QUEUE_URL is sqlite:///gello.db when nothing is said.
"""

from gello_dramatiq import Gello

gello = Gello(modules=["examples.mailer.jobs"])
